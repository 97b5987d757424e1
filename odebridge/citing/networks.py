"""Publications on residual networks, their gates and their gradients, as data."""

from __future__ import annotations

from odebridge.citing.entry import Entry

NETWORKS: dict[str, Entry] = {
    "huang2023": Entry(
        "inproceedings",
        "Huang, Zhongzhan and Liang, Mingfu and Qin, Jinghui and Zhong, Shanshan and Lin, Liang",
        "Understanding Self-attention Mechanism via Dynamical System Perspective",
        "IEEE/CVF International Conference on Computer Vision (ICCV)",
        2023,
        "1412--1422",
    ),
    "hu2018": Entry(
        "inproceedings",
        "Hu, Jie and Shen, Li and Sun, Gang",
        "Squeeze-and-Excitation Networks",
        "IEEE Conference on Computer Vision and Pattern Recognition (CVPR)",
        2018,
        "7132--7141",
    ),
    "wang2020": Entry(
        "inproceedings",
        "Wang, Qilong and Wu, Banggu and Zhu, Pengfei and Li, Peihua and Zuo, Wangmeng and Hu, Qinghua",
        "ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks",
        "IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)",
        2020,
        "11534--11542",
        "10.1109/CVPR42600.2020.01155",
    ),
    "lee2019": Entry(
        "inproceedings",
        "Lee, HyunJae and Kim, Hyo-Eun and Nam, Hyeonseob",
        "SRM: A Style-based Recalibration Module for Convolutional Neural Networks",
        "IEEE/CVF International Conference on Computer Vision (ICCV)",
        2019,
        "1854--1862",
    ),
    "woo2018": Entry(
        "inproceedings",
        "Woo, Sanghyun and Park, Jongchan and Lee, Joon-Young and Kweon, In So",
        "CBAM: Convolutional Block Attention Module",
        "European Conference on Computer Vision (ECCV)",
        2018,
        "3--19",
    ),
    "guo2020": Entry(
        "inproceedings",
        "Guo, Jingda and others",
        "SPANet: Spatial Pyramid Attention Network for Enhanced Image Recognition",
        "IEEE International Conference on Multimedia and Expo (ICME)",
        2020,
    ),
    "liang2020": Entry(
        "inproceedings",
        "Liang, Senwei and Huang, Zhongzhan and Liang, Mingfu and Yang, Haizhao",
        "Instance Enhancement Batch Normalization: An Adaptive Regulator of Batch Noise",
        "AAAI Conference on Artificial Intelligence",
        2020,
        "34:4819--4827",
    ),
    "huang2020": Entry(
        "inproceedings",
        "Huang, Zhongzhan and Liang, Senwei and Liang, Mingfu and Yang, Haizhao",
        "DIANet: Dense-and-Implicit Attention Network",
        "AAAI Conference on Artificial Intelligence",
        2020,
        "34:4206--4214",
    ),
    "li2019": Entry(
        "misc",
        "Li, Xiang and Hu, Xiaolin and Yang, Jian",
        "Spatial Group-wise Enhance: Improving Semantic Feature Learning in Convolutional Networks",
        "arXiv:1905.09646",
        2019,
    ),
    "yang2020": Entry(
        "inproceedings",
        "Yang, Yibo and Wu, Jianlong and Li, Hongyang and Li, Xia and Shen, Tiancheng and Lin, Zhouchen",
        "Dynamical System Inspired Adaptive Time Stepping Controller for Residual Network Families",
        "AAAI Conference on Artificial Intelligence",
        2020,
    ),
    "e2017": Entry(
        "article",
        "E, Weinan",
        "A Proposal on Machine Learning via Dynamical Systems",
        "Communications in Mathematics and Statistics",
        2017,
        "5(1):1--11",
        "10.1007/s40304-017-0103-z",
    ),
    "chen2018": Entry(
        "inproceedings",
        "Chen, Ricky T. Q. and Rubanova, Yulia and Bettencourt, Jesse and Duvenaud, David",
        "Neural Ordinary Differential Equations",
        "Advances in Neural Information Processing Systems",
        2018,
        "31:",
    ),
    "daulbaev2020": Entry(
        "inproceedings",
        "Daulbaev, Talgat and Katrutsa, Alexandr and Markeeva, Larisa and Gusak, Julia and Cichocki, Andrzej and "
        "Oseledets, Ivan",
        "Interpolation Technique to Speed Up Gradients Propagation in Neural ODEs",
        "Advances in Neural Information Processing Systems",
        2020,
        "33:",
    ),
}
